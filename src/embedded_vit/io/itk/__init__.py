"""NRRD and MetaImage files (`.nrrd`, `.mha`, `.mhd`), read by SimpleITK."""
