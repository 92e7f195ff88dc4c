"""A small rendered social world: cartoon people among objects, with exact labels and boxes.

`world.compose` draws the specification of a picture from (framing, split, index, seed) alone,
`render.render` paints it, `captions.caption` says it in words with or without anything social,
and `preview.contact_sheet` shows samples. Specifications are cheap, so labels and boxes are read
without painting. Only numpy and Pillow are used here. Training on these pictures, and reading
them as task rows, live elsewhere.
"""
