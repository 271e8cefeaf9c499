"""From a sweep's folder to curves, tables and pictures. Reads files; trains nothing."""
