"""Images from where people have them: a name, class folders, Hugging Face Parquet, an .npz.

The one decision to know: every source becomes one uint8 array (images, side, side, channels) with integer labels, decoded once.
Every image is checked while it is read; a bad one is named, and is left out only where the caller asked for that.
Images are turned upright (EXIF), made RGB, and brought to the stored side by their shorter edge and a centre crop.
"""
