# Encodes and decodes protocol buffers, with numbers of fields in place of names.


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def encode(fields):
    out = b""
    for number, value in fields:
        if isinstance(value, dict):
            for key, item in value.items():
                out += encode([(number, [(1, key), (2, item)])])
        elif isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            content = encode(value) if isinstance(value, list) else value.encode()
            out += varint(number << 3 | 2) + varint(len(content)) + content
    return out


def decode(data):
    fields, position = {}, 0

    def number():
        nonlocal position
        result = shift = 0
        while True:
            byte = data[position]
            position += 1
            result |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return result

    while position < len(data):
        key = number()
        if key & 7 == 0:
            fields[key >> 3] = number()
        else:
            length = number()
            fields[key >> 3] = data[position : position + length]
            position += length
    return fields
