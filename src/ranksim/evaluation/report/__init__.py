"""Terminal tables, figures and the HTML page that present results."""
