"""The sections of the HTML page of a sweep, with its template, style and script."""
