"""The asset graph: thin assets that read, call one pure function or one SQL file, write and report."""
