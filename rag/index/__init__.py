"""What is searched: FAISS vectors and a lexical index for each collection, derived from the database."""
