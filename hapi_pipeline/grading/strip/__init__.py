"""Document properties, type by type: what a program or an agent writes about itself into the files it makes.

A stripper takes the bytes of a file and gives them back without such properties. It never re-encodes a picture and
never lays a page out again: what a reader sees, hears or runs stays byte for byte. What cannot be done so raises
CannotStrip.
"""
