"""Results to tables and pictures. Reads ``results.json``; never trains."""
