"""The human half: packets that graders can work in, and the reading of the files that come back."""
