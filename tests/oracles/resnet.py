"""ResNets written plainly from He et al. (CVPR 2016), table 1, with the usual parameter names."""

import torch
from torch import nn


def conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """x + F(x): two 3×3 convolutions, or 1×1, 3×3 and 1×1; the stride is on the first 3×3."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        else:
            self.conv1, self.bn1 = conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.bottleneck, self.downsample = bottleneck, None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        if self.bottleneck:
            x = self.bn3(self.conv3(torch.relu(x)))
        return torch.relu(shortcut + x)


class ResNet(nn.Module):
    """Normalised images ``(N, 3, H, W)`` to a number each and features ``(N, D)``."""

    def __init__(self, depth):
        super().__init__()
        bottleneck = depth == 50
        blocks = (2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(blocks):
            width, stage_blocks = 64 << stage, []
            for i in range(count):
                stage_blocks.append(Block(inputs, width, 2 if stage and i == 0 else 1, bottleneck))
                inputs = 4 * width if bottleneck else width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*stage_blocks))
        self.linear = nn.Linear(inputs, 1)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        features = x.mean(dim=(2, 3))
        return self.linear(features).squeeze(-1), features
