"""A place for bytes that all processes of a service reach: a shared folder, or a bucket with the S3 API."""
