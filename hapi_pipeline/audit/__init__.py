"""The human audit of curation: a blind sample of posts for curators, and what their answers say about the rules."""
