"""Collections that are searched in parts: who holds which document, how the answers become one."""
