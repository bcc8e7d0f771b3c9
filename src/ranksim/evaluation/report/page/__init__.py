"""The HTML page of a sweep: its numbered sections, template, style sheet and script."""
