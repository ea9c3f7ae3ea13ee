"""What each verb of the command line does, one verb a file, imported when it is called."""
