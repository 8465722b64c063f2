// IDX, the file format of MNIST. All numbers are big-endian:
//
//     00 00 08 03                the type of the values (08: unsigned bytes, 0d: 32-bit floats) and
//                                the number of dimensions
//     00 00 ea 60  00 00 00 1c   each dimension as 32 bits: 60000, 28,
//     00 00 00 1c                28
//     ...                        the values, row-major, up to the end of the file
//
// load_mnist() in mnist.cpp makes a DataSet (dataset.h) of two such files.
#pragma once

#include <string>

#include "core/check.h"
#include "data/file.h"

namespace slim {

struct IdxFile {
    Shape shape;                // 1 to 255 dimensions
    Bytes values;               // the elements if they are bytes, else empty
    std::vector<float> floats;  // the elements if they are floats, else empty
};

// Throws an Error that begins with the file's name and says what is wrong, and what the file
// looks like when it is something else (gzip, a web page).
IdxFile read_idx(const std::string& path);

// The same for bytes in memory, which it takes over; the name is for messages.
IdxFile parse_idx(Bytes bytes, const std::string& name);

}  // namespace slim
