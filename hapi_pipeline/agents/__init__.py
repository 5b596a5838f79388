"""Agents at work: attempts of models at jobs, from the first message to the files handed in, in a ledger."""
