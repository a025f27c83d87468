/** Metadata of an ONNX file: `ModelProto.metadata_props` (field 14), read without a protobuf library. */

const METADATA_PROPS = 14;

/** Return the metadata of an ONNX file by key. Throws where the file is damaged. */
export function metadata(file: Uint8Array): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [number, value] of fields(file)) {
    if (number !== METADATA_PROPS || !(value instanceof Uint8Array)) continue;
    const entry = new Map([...fields(value)].map(([field, text]) => [field, new TextDecoder().decode(text as Uint8Array)]));
    found[entry.get(1) ?? ""] = entry.get(2) ?? "";
  }
  return found;
}

function* fields(data: Uint8Array): Generator<[number, number | Uint8Array]> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      if (at >= data.length) throw new Error("the ONNX file is cut off");
      const byte = data[at++];
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  const bytes = (length: number): Uint8Array => {
    if (at + length > data.length) throw new Error("the ONNX file is cut off");
    at += length;
    return data.subarray(at - length, at);
  };
  while (at < data.length) {
    const tag = varint();
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) yield [number, varint()];
    else if (wire === 2) yield [number, bytes(varint())];
    else if (wire === 1 || wire === 5) yield [number, bytes(wire === 1 ? 8 : 4)];
    else throw new Error("this is no ONNX file");
  }
}
