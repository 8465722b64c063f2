// Tables of numbers as text, one row per line, cells separated by commas (or semicolons, or tabs,
// if the first line has no comma):
//
//     class,width,height
//     3,0.25,1.5
//
// The first line is a header if none of its cells is a number. The labels are whole numbers or,
// below a header, names; all other cells must be finite numbers.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"

namespace slim {

struct CsvTable {
    std::string path;                       // for messages
    std::vector<std::string> header = {};   // the columns' names; empty if there is no header
    std::vector<float> values = {};         // [rows, cols]; a name is its index in classes
    std::vector<int64_t> lines = {};        // [rows], where each row stands, from 1
    int64_t cols = 0;
    std::string label = {};                 // the name of the labels' column; "" for the first
    int64_t label_column = 0;               // -1: no column has that name
    std::vector<std::string> classes = {};  // the labels' names, sorted; empty for numbers

    int64_t rows() const { return int64_t(lines.size()); }
};

// Reads a table. `label` names the labels' column: then the first line is a header, even if some
// names in it are numbers. If it is "", the labels are in the first column.
// Throws an Error that names the line and the column of the first wrong cell.
CsvTable read_csv(const std::string& path, const std::string& label = "");
CsvTable parse_csv(std::string_view text, const std::string& name, const std::string& label = "");

// Splits the table into labels from 0 to 255 and the measurements beside them.
DataSet labelled_rows(const CsvTable& table);

// Returns the table with the columns and the classes of another one, `like`: found by name if both
// have a header, else by position. Labels may be missing, and are then 0.
CsvTable arranged(const CsvTable& table, const CsvTable& like);

}  // namespace slim
