"""The napari plugin: dock widgets, readers and sample data over the library's public functions.

The only part of the package that imports napari and Qt. Nothing is imported here, so that napari
can read the manifest at no cost.
"""
