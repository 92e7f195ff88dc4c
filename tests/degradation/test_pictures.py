"""What is read off the pixels without an encoder."""

import numpy as np

from degradation.pictures import picture_features


def test_picture_features_are_area_means_and_shares():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    result = picture_features(pixels)
    areas = pixels.reshape(2, 3, 16, 4, 16, 4, 3).mean(axis=(1, 3, 5)).reshape(2, 1, 768) / 255
    np.testing.assert_allclose(result["pooled/pixels"], areas, rtol=1e-5)
    for i in range(2):
        expected, _ = np.histogramdd(pixels[i].reshape(-1, 3), bins=[np.arange(0, 257, 64)] * 3)
        np.testing.assert_allclose(
            result["pooled/histogram"][i, 0], expected.ravel() / expected.sum(), rtol=1e-6
        )
    odd = np.full((1, 1, 50, 50, 3), 51, dtype=np.uint8)  # 50 is no multiple of 16
    np.testing.assert_allclose(picture_features(odd)["pooled/pixels"], 0.2, rtol=1e-6)


def test_rectangles_are_averaged_over_16_x_16_areas_too():
    pixels = np.random.default_rng(1).integers(0, 256, (2, 1, 48, 80, 3), dtype=np.uint8)
    result = picture_features(pixels)
    areas = pixels.reshape(2, 16, 3, 16, 5, 3).mean(axis=(2, 4)).reshape(2, 1, 768) / 255
    np.testing.assert_allclose(result["pooled/pixels"], areas, rtol=1e-5)
    np.testing.assert_allclose(result["pooled/histogram"].sum(axis=2), 1, rtol=1e-6)
    odd = np.full((1, 1, 34, 50, 3), 51, dtype=np.uint8)
    np.testing.assert_allclose(picture_features(odd)["pooled/pixels"], 0.2, rtol=1e-6)
