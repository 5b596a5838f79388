"""Takes files from outside into the ledgers: recognised by content, checked whole before anything is written."""
