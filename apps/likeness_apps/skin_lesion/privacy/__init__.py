"""Nothing that names a patient: stand-ins of files, hashed identifiers, burned-in text."""
