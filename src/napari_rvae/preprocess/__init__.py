"""What a frame is like before anything is looked for in it: noise, row noise, blur."""

from napari_rvae.preprocess.analyse import analyse_frames

__all__ = ["analyse_frames"]
