"""The published rVAE: a decoder that draws pixel by pixel."""
