"""Draws the pictures in this folder: ten digits as people draw them in paint programs, the first
letter of each name being the digit, and four files in bad/ that are not pictures to be read.

    python3 tests/pictures/draw_pictures.py          (needs numpy, and Pillow for the JPEGs)

The pictures are kept in the repository, so nobody needs to run this. The shapes were drawn once by
eye and not changed after a network had seen them.
"""
import os
import struct
import zlib

import numpy as np
from PIL import Image

FOLDER = os.path.dirname(os.path.abspath(__file__))

# One list of points for each stroke of the pen, in a box of width and height 1, y pointing down.
DIGITS = {
    0: [[(.60, .03), (.30, .08), (.08, .36), (.10, .72), (.36, .97), (.70, .90), (.90, .58),
         (.84, .22), (.58, .02), (.46, .05)]],
    1: [[(.30, .22), (.46, .12), (.58, .00), (.56, .34), (.55, .66), (.52, 1.0)]],
    2: [[(.12, .24), (.28, .05), (.58, .00), (.82, .16), (.78, .42), (.50, .68), (.14, .97),
         (.45, .93), (.70, .95), (.94, .90)]],
    3: [[(.16, .12), (.42, .00), (.74, .08), (.78, .28), (.56, .44), (.38, .48), (.66, .52),
         (.86, .70), (.74, .92), (.42, 1.0), (.12, .88)]],
    4: [[(.42, .00), (.28, .28), (.10, .60), (.40, .62), (.92, .57)], [(.70, .30), (.66, .66), (.62, 1.0)]],
    5: [[(.26, .04), (.24, .26), (.20, .46), (.46, .38), (.76, .48), (.84, .72), (.66, .94),
         (.38, 1.0), (.10, .90)], [(.24, .05), (.54, .03), (.86, .00)]],
    6: [[(.68, .00), (.40, .20), (.18, .52), (.16, .82), (.40, 1.0), (.70, .92), (.78, .70),
         (.58, .54), (.34, .60), (.19, .78)]],
    7: [[(.08, .08), (.40, .07), (.88, .02), (.72, .34), (.52, .66), (.38, 1.0)]],
    8: [[(.74, .14), (.50, .00), (.26, .14), (.32, .34), (.56, .50), (.78, .70), (.70, .92),
         (.44, 1.0), (.20, .88), (.22, .68), (.46, .50), (.70, .32), (.75, .16)]],
    9: [[(.78, .20), (.56, .02), (.28, .10), (.20, .34), (.38, .50), (.64, .44), (.80, .20),
         (.78, .50), (.72, .78), (.60, 1.0)]],
}


def smooth(points, rng, wobble):
    """A curve through the points (Catmull-Rom), which a hand has moved about a little."""
    p = np.array(points) + rng.normal(0, wobble, (len(points), 2))
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, 60)[:, None]
    pieces = [.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
                    + (3 * b - a - 3 * c + d) * t**3)
              for a, b, c, d in zip(p, p[1:], p[2:], p[3:])]
    return np.vstack(pieces)


def draw(digit, canvas, height, at, pen, slant=0.0, turn=0.0, wobble=0.012, aspect=0.62):
    """How much ink each pixel has, 0 to 1. canvas: (width, height); at: the box's top left corner;
    pen: the diameter of its round tip; slant: shift to the right per height; turn: in degrees."""
    rng = np.random.default_rng(digit)
    ink = np.zeros((canvas[1], canvas[0]))
    angle = np.radians(turn)
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for stroke in DIGITS[digit]:
        curve = smooth(stroke, rng, wobble)
        curve[:, 0] = curve[:, 0] * aspect + slant * (1 - curve[:, 1])
        curve = (curve - .5) @ rotate.T + .5
        curve = curve * height + at
        # The hand presses now more, now less.
        width = pen * (1 + .12 * np.sin(np.linspace(0, 5, len(curve)) + rng.uniform(0, 6)))
        # Between two points of the curve, so many dabs that they overlap.
        for (x0, y0), (x1, y1), w in zip(curve, curve[1:], width):
            for s in np.linspace(0, 1, 2 + int(np.hypot(x1 - x0, y1 - y0))):
                x, y, reach = x0 + s * (x1 - x0), y0 + s * (y1 - y0), w / 2 + 1
                r0, r1 = max(int(y - reach), 0), min(int(y + reach) + 2, canvas[1])
                c0, c1 = max(int(x - reach), 0), min(int(x + reach) + 2, canvas[0])
                if r0 >= r1 or c0 >= c1:
                    continue
                rows, cols = np.mgrid[r0:r1, c0:c1] + .5
                dab = np.clip(w / 2 + .5 - np.hypot(rows - y, cols - x), 0, 1)
                ink[r0:r1, c0:c1] = np.maximum(ink[r0:r1, c0:c1], dab)
    return ink


def paint(ink, pen, paper):
    """Colours (r, g, b) or a grey, mixed by how much ink there is."""
    pen, paper = np.atleast_1d(pen), np.atleast_1d(paper)
    return paper + ink[..., None] * (pen - paper)


def png(pixels):
    """The bytes of a PNG file. pixels [height, width, channels], 0 to 255."""
    pixels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    # Filter 1 before each row: it holds differences to the pixel on the left, which pack better.
    left = np.pad(pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    rows = np.pad((pixels - left).reshape(height, -1), ((0, 0), (1, 0)), constant_values=1)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + chunk(b"IEND", b""))


def save(name, pixels, quality=None):
    path = os.path.join(FOLDER, name)
    if name.endswith(".jpg"):
        Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8).squeeze()).save(
            path, quality=quality)
    else:
        with open(path, "wb") as file:
            file.write(png(pixels))


def main():
    save("0_thin.png", paint(draw(0, (300, 300), 210, (80, 45), 2.5), 0, 255))
    save("1_off_centre.png", paint(draw(1, (420, 320), 130, (300, 10), 9, turn=4), 0, 255))
    save("2_thick.png", paint(draw(2, (280, 280), 190, (75, 45), 30), 0, 255))
    save("3_white_on_black.png", paint(draw(3, (256, 256), 180, (70, 40), 12), 255, 0))

    ink = draw(4, (320, 320), 220, (90, 50), 11)
    save("4_alpha.png", np.dstack([np.full_like(ink, 20)] * 3 + [255 * ink]))

    save("5_jpeg.jpg", paint(draw(5, (360, 360), 240, (100, 60), 13), 10, 255), quality=40)
    save("6_coloured.png", paint(draw(6, (300, 340), 230, (80, 50), 14), (35, 60, 200), (255, 250, 225)))
    save("7_large_canvas.png", paint(draw(7, (1600, 1200), 260, (950, 640), 12), 0, 255))

    # A scan: grey paper, darker towards one side, grain, and specks of dust.
    rng = np.random.default_rng(88)
    ink = draw(8, (150, 180), 120, (42, 28), 7, slant=.12, turn=5)
    pixels = paint(ink, 60, 215) - np.linspace(0, 18, 150)[None, :, None]
    pixels += rng.normal(0, 6, (180, 150, 1))
    for _ in range(12):
        r, c = rng.integers(0, 178), rng.integers(0, 148)
        pixels[r:r + 2, c:c + 2] -= 110
    save("8_scan.png", np.round(pixels / 4) * 4)

    save("9_slanted.jpg", paint(draw(9, (320, 360), 220, (60, 60), 10, slant=.28), (170, 20, 30),
                                (250, 250, 250)), quality=75)

    with open(os.path.join(FOLDER, "bad", "text.png"), "w") as file:
        file.write("This is a text. Somebody has given it the name of a picture.\n")
    with open(os.path.join(FOLDER, "bad", "empty.png"), "wb"):
        pass
    # A small file that says it is 10,000 x 10,000 pixels.
    huge = png(np.zeros((1, 1, 1)))
    size = struct.pack(">4sII5B", b"IHDR", 10000, 10000, 8, 0, 0, 0, 0)
    huge = huge[:12] + size + struct.pack(">I", zlib.crc32(size)) + huge[33:]
    with open(os.path.join(FOLDER, "bad", "huge.png"), "wb") as file:
        file.write(huge)
    whole = png(paint(draw(3, (100, 100), 70, (25, 15), 6), 0, 255))
    with open(os.path.join(FOLDER, "bad", "truncated.png"), "wb") as file:
        file.write(whole[:len(whole) // 2])


if __name__ == "__main__":
    main()
