// The CSV reader. See csv.h.
#include "data/csv.h"

#include <algorithm>  // count, find, min, none_of
#include <charconv>   // from_chars
#include <cmath>      // floor, isfinite

#include "core/check.h"

namespace slim {

namespace {

// The cells of a line, without blanks and quotes around them. Between quotes, a separator is text.
std::vector<std::string_view> split_line(std::string_view line, char separator) {
    std::vector<std::string_view> cells;
    for (bool more = true; more;) {
        size_t end = line.find(separator);
        const size_t start = line.find_first_not_of(' ');
        if (start < end && line[start] == '"')
            if (const size_t quote = line.find('"', start + 1); quote != line.npos)
                end = line.find(separator, quote);
        std::string_view cell = line.substr(0, end);
        more = end != line.npos;
        if (more) line.remove_prefix(end + 1);
        cell.remove_prefix(std::min(cell.find_first_not_of(" \t\r"), cell.size()));
        cell = cell.substr(0, cell.find_last_not_of(" \t\r") + 1);
        if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"')
            cell = cell.substr(1, cell.size() - 2);
        cells.push_back(cell);
    }
    return cells;
}

// A comma if the line has one, else a semicolon or a tab if it has those.
char separator_of(std::string_view line) {
    for (const char separator : {',', ';', '\t'})
        if (line.find(separator) != line.npos) return separator;
    return ',';
}

bool is_number(std::string_view cell, float& value) {
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    return error == std::errc() && end == cell.data() + cell.size() && std::isfinite(value);
}

// "column 3 (height)"
std::string column_name(const CsvTable& table, size_t column) {
    return "column " + to_text(column + 1) +
           (table.header.empty() ? "" : " (" + table.header[column] + ")");
}

}  // namespace

CsvTable read_csv(const std::string& path, bool has_header) {
    const Bytes bytes = read_file(path);
    return parse_csv(as_text(bytes), path, has_header);
}

CsvTable parse_csv(std::string_view text, const std::string& name, bool has_header) {
    const Bytes start(text.begin(), text.begin() + int64_t(std::min<size_t>(text.size(), 64)));
    check(text.empty() || (text.find('\0') == text.npos && looks_like(start).empty()), name,
          ": not a CSV file: it must be text", looks_like(start));
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // the mark of some editors

    CsvTable table{name, {}, {}, {}, 0};
    char separator = ',';
    for (int64_t line = 1; !text.empty(); line++) {
        const std::string_view row = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), row.size() + 1));
        if (table.cols == 0) separator = separator_of(row);
        const std::vector<std::string_view> cells = split_line(row, separator);
        if (cells.size() == 1 && cells[0].empty()) continue;  // a blank line
        float value = 0;
        if (table.cols == 0) {
            table.cols = int64_t(cells.size());
            check(table.cols > 1, name, ": line ", line, ": one column; a label and at least one ",
                  "measurement are needed. hint: separate cells with commas");
            if (has_header || std::none_of(cells.begin(), cells.end(), [&](std::string_view cell) {
                    return is_number(cell, value);
                })) {
                table.header.assign(cells.begin(), cells.end());
                continue;
            }
        }
        check(int64_t(cells.size()) == table.cols, name, ": line ", line, ": ", cells.size(),
              " cells; the first line has ", table.cols);
        for (size_t i = 0; i < cells.size(); i++) {
            if (!is_number(cells[i], value))
                fail(name, ": line ", line, ", ", column_name(table, i), ": ",
                     cells[i].empty() ? "the cell is empty"
                                      : "got \"" + std::string(cells[i]) + "\"",
                     "; it must be a finite number",
                     line == 1 ? ". hint: if this line is a header, name a column with --label"
                               : "");
            table.values.push_back(value);
        }
        table.lines.push_back(line);
    }
    check(!table.lines.empty(), name, ": no rows of numbers: ",
          table.header.empty() ? "the file is empty" : "there is only a header");
    return table;
}

DataSet labelled_rows(const CsvTable& table, const std::string& label) {
    size_t column = 0;
    if (!label.empty()) {
        const auto named = std::find(table.header.begin(), table.header.end(), label);
        check(named != table.header.end(), table.path, ": no column is named \"", label, "\"",
              table.header.empty() ? ": there is no header. hint: write the names in the first line"
                                   : "");
        check(std::count(named, table.header.end(), label) == 1, table.path,
              ": two columns are named \"", label, "\"");
        column = size_t(named - table.header.begin());
    }
    DataSet set{{}, {}, table.rows(), 1, table.cols - 1, {}};
    for (size_t i = 0; i < table.values.size(); i++) {
        const float value = table.values[i];
        if (i % size_t(table.cols) != column) {
            set.values.push_back(value);
            continue;
        }
        check(value >= 0 && value <= 255 && value == std::floor(value), table.path, ": line ",
              table.lines[i / size_t(table.cols)], ", ", column_name(table, column), ": label ",
              value,
              "; labels are whole numbers from 0 to 255",
              label.empty() ? ". hint: the label is in the first column; name another with --label"
                            : "");
        set.labels.push_back(uint8_t(value));
    }
    return set;
}

}  // namespace slim
