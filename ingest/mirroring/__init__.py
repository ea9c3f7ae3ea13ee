"""A folder mirrored into a collection: looked through, compared, carried out, watched."""
