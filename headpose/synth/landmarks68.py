"""The 68 landmarks as vertices of the base mesh.

The choice of vertices was carried over from ICT-FaceKit's table of Multi-PIE landmarks (USC Institute for
Creative Technologies, MIT license, see NOTICE) by fitting its mean face to the base mesh;
the half of the face that fitted better was then mirrored, vertex by vertex.
"""

from __future__ import annotations

import numpy as np

_JAW = "5237 269 270 736 5299 5297 5223 5167 5225 11780 11833 11902 11904 7456 7039 7038 11846"
_BROWS = "261 232 222 223 208 6983 6997 6996 7005 7030"
_NOSE = "132 131 164 294 285 314 317 7077 7054"
_EYES = "28 6762 6763 72 6772 6777 6856 13359 13358 6812 13373 13368"
_LIPS = "422 410 456 455 7215 7170 7182 7233 7239 496 484 478 431 470 474 7226 7191 7236 523 481"

VERTICES = np.array(" ".join([_JAW, _BROWS, _NOSE, _EYES, _LIPS]).split(), np.int32)
"""(68,) int32, in the order of 300W."""
