"use strict";
/* Masks in COCO run-length encoding: decoded, compared, outlined. https://github.com/cocodataset/cocoapi, maskApi.c */
HL.masks = (() => {
  const MOST = 2 ** 28; // pixels

  /** The run lengths in compressed counts: 5 bits a character, from the fourth number on differences. */
  function runs(counts) {
    const found = [];
    let value = 0;
    let shift = 0;
    for (let i = 0; i < counts.length; i++) {
      const group = counts.charCodeAt(i) - 48;
      value |= (group & 31) << shift;
      shift += 5;
      if (group & 32) continue;
      if (group & 16 && shift < 32) value |= -1 << shift;
      found.push(found.length > 2 ? value + found[found.length - 2] : value);
      value = shift = 0;
    }
    return found;
  }

  /** A mask as { height, width, pixels }, pixels row by row, 1 inside; it throws where the encoding is none. */
  function decode(rle) {
    const [height, width] = rle.size;
    if (!(height > 0 && width > 0 && height * width <= MOST)) throw new Error("A mask has no valid size.");
    const pixels = new Uint8Array(height * width);
    let place = 0;
    let inside = 0;
    for (const run of runs(rle.counts)) {
      if (run < 0 || place + run > pixels.length) throw new Error("A mask does not fit its size.");
      if (inside) {
        for (let i = place; i < place + run; i++) pixels[(i % height) * width + Math.floor(i / height)] = 1;
      }
      place += run;
      inside ^= 1;
    }
    if (place !== pixels.length) throw new Error("A mask does not fill its size.");
    return { height, width, pixels };
  }

  const empty = ([height, width]) => ({ height, width, pixels: new Uint8Array(height * width) });

  /** Intersection over union; 1 where both are empty; ignored pixels are left out. */
  function iou(truth, mask, ignore) {
    let intersection = 0;
    let union = 0;
    for (let i = 0; i < truth.pixels.length; i++) {
      if (ignore && ignore.pixels[i]) continue;
      intersection += truth.pixels[i] & mask.pixels[i];
      union += truth.pixels[i] | mask.pixels[i];
    }
    return union ? intersection / union : 1;
  }

  /** The edges between inside and outside as the path of an SVG, in pixels. */
  function outline({ height, width, pixels }) {
    const path = [];
    const at = (x, y) => (x >= 0 && y >= 0 && x < width && y < height ? pixels[y * width + x] : 0);
    for (let y = 0; y <= height; y++) {
      for (let x = 0; x < width; x++) {
        const start = x;
        while (x < width && at(x, y) !== at(x, y - 1)) x++;
        if (x > start) path.push(`M${start} ${y}h${x - start}`);
      }
    }
    for (let x = 0; x <= width; x++) {
      for (let y = 0; y < height; y++) {
        const start = y;
        while (y < height && at(x, y) !== at(x - 1, y)) y++;
        if (y > start) path.push(`M${x} ${start}v${y - start}`);
      }
    }
    return path.join("");
  }

  /** Paint a mask on a canvas, one pixel of the canvas for each of its own. */
  function paint(canvas, mask, [red, green, blue, alpha]) {
    if (canvas.width !== mask.width || canvas.height !== mask.height) {
      canvas.width = mask.width;
      canvas.height = mask.height;
    }
    const context = canvas.getContext("2d");
    const image = context.createImageData(mask.width, mask.height);
    const words = new Uint32Array(image.data.buffer);
    const color = new Uint32Array(new Uint8Array([red, green, blue, alpha]).buffer)[0];
    for (let i = 0; i < words.length; i++) if (mask.pixels[i]) words[i] = color;
    context.putImageData(image, 0, 0);
  }

  /** Paint where a mask is right, misses the truth or has too much, in the three colours of error maps. */
  function paintErrors(canvas, truth, mask, ignore, colors) {
    canvas.width = mask.width;
    canvas.height = mask.height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(mask.width, mask.height);
    const words = new Uint32Array(image.data.buffer);
    const [right, missing, excess] = colors.map((color) => new Uint32Array(new Uint8Array(color).buffer)[0]);
    for (let i = 0; i < words.length; i++) {
      if (ignore && ignore.pixels[i]) continue;
      if (truth.pixels[i]) words[i] = mask.pixels[i] ? right : missing;
      else if (mask.pixels[i]) words[i] = excess;
    }
    context.putImageData(image, 0, 0);
  }

  /** The bounds { x, y, width, height } of a mask in pixels, or null where it is empty. */
  function bounds({ height, width, pixels }) {
    let [left, right, top, bottom] = [width, -1, height, -1];
    for (let i = 0; i < pixels.length; i++) {
      if (!pixels[i]) continue;
      const [x, y] = [i % width, Math.floor(i / width)];
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
    return right < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
  }

  return { runs, decode, empty, iou, outline, paint, paintErrors, bounds };
})();
