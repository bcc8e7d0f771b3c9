"""Tables, folders, series and sentences of anyone's own."""
