// Tables of numbers as text, one row per line, cells separated by commas (or semicolons, or tabs,
// if the first line has no comma):
//
//     class,width,height
//     3,0.25,1.5
//
// The first line is a header if none of its cells is a number. All other cells must be finite
// numbers.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"

namespace slim {

struct CsvTable {
    std::string path;                 // for messages
    std::vector<std::string> header;  // the columns' names; empty if there is no header
    std::vector<float> values;        // [rows, cols]
    std::vector<int64_t> lines;       // [rows], where each row stands, from 1
    int64_t cols = 0;

    int64_t rows() const { return int64_t(lines.size()); }
};

// Throws a sentence with the line and the column of the first wrong cell.
// has_header: the first line is one even if some of the columns' names are numbers.
CsvTable read_csv(const std::string& path, bool has_header = false);
CsvTable parse_csv(std::string_view text, const std::string& name, bool has_header = false);

// Splits the table into labels, whole numbers from 0 to 255, and the measurements beside them.
// `label` names the labels' column; "" is the first.
DataSet labelled_rows(const CsvTable& table, const std::string& label = "");

}  // namespace slim
