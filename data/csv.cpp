// The CSV reader. See csv.h.
#include "data/csv.h"

#include <algorithm>  // count, find, min, none_of
#include <charconv>   // from_chars
#include <cmath>      // floor, isfinite
#include <map>

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

// Whether the cell is a name: not empty and not a number. nan and 1e99 count as numbers here.
bool is_name(std::string_view cell) {
    float value = 0;
    const char* const end = cell.data() + cell.size();
    return !cell.empty() && std::from_chars(cell.data(), end, value).ptr != end;
}

// "column 3 (height)"
std::string column_name(const CsvTable& table, size_t column) {
    return "column " + to_text(column + 1) +
           (table.header.empty() ? "" : " (" + table.header[column] + ")");
}

// Returns the index of the column with this name, or -1.
int64_t column_named(const CsvTable& table, const std::string& name) {
    const auto named = std::find(table.header.begin(), table.header.end(), name);
    if (named == table.header.end()) return -1;
    check(std::count(named, table.header.end(), name) == 1, table.path,
          ": two columns are named \"", name, "\"");
    return named - table.header.begin();
}

[[noreturn]] void fail_at(const CsvTable& table, int64_t line, size_t column,
                          std::string_view cell) {
    const std::string place = table.path + ": line " + to_text(line) + ", " +
                              column_name(table, column) + ": ";
    if (cell.empty())
        fail(place, "the cell is empty; each must be filled. hint: fill it in, or leave out the "
             "row");
    fail(place, "got \"", std::string(cell), "\"; it must be a finite number",
         !is_name(cell) ? ""
         : cell.find(',') != cell.npos ? ". hint: write decimals with a point"
         : table.header.empty()
             ? ". hint: name the columns in the first line, and that of the labels with --label"
         : int64_t(column) == table.label_column && !table.lines.empty()
             ? ". hint: the first label is a number; make all of them numbers, or all names"
         : table.label.empty() ? ". hint: if these are the labels, name their column with --label"
         : table.label_column < 0
             ? ". hint: no column is named \"" + table.label + "\"; correct --label"
             : std::string(". hint: leave out the column"));
}

}  // namespace

CsvTable read_csv(const std::string& path, const std::string& label) {
    const Bytes bytes = read_file(path);
    return parse_csv(as_text(bytes), path, label);
}

CsvTable parse_csv(std::string_view text, const std::string& name, const std::string& label) {
    const Bytes start(text.begin(), text.begin() + int64_t(std::min<size_t>(text.size(), 64)));
    check(text.empty() || (text.find('\0') == text.npos && looks_like(start).empty()), name,
          ": not a CSV file: it must be text", looks_like(start));
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // the mark of some editors

    CsvTable table{.path = name, .label = label};
    std::map<std::string, float> classes;  // name to number, in the order of their appearance
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
            if (!label.empty() ||
                std::none_of(cells.begin(), cells.end(), [&](std::string_view cell) {
                    return is_number(cell, value);
                })) {
                table.header.assign(cells.begin(), cells.end());
                table.label_column = label.empty() ? 0 : column_named(table, label);
                continue;
            }
        }
        check(int64_t(cells.size()) == table.cols, name, ": line ", line, ": ", cells.size(),
              " cells; the first line has ", table.cols);
        for (size_t i = 0; i < cells.size(); i++) {
            const bool number = is_number(cells[i], value);
            // The first label tells whether the labels are names or numbers.
            const bool is_class = int64_t(i) == table.label_column && !table.header.empty() &&
                                  (table.lines.empty() ? is_name(cells[i]) : !classes.empty());
            if (is_class && !cells[i].empty())
                value = classes.try_emplace(std::string(cells[i]), float(classes.size()))
                            .first->second;
            else if (!number) fail_at(table, line, i, cells[i]);
            table.values.push_back(value);
        }
        table.lines.push_back(line);
    }
    check(!table.lines.empty(), name, ": no rows of numbers: ",
          table.header.empty() ? "the file is empty" : "there is only a header");
    if (classes.empty()) return table;
    std::vector<float> sorted(classes.size());
    for (const auto& [text, index] : classes) {
        sorted[size_t(index)] = float(table.classes.size());
        table.classes.push_back(text);
    }
    for (int64_t row = 0; row < table.rows(); row++) {
        float& value = table.values[size_t(row * table.cols + table.label_column)];
        value = sorted[size_t(value)];
    }
    return table;
}

DataSet labelled_rows(const CsvTable& table) {
    if (table.label_column < 0) {
        std::string names;
        for (size_t i = 0; i < table.header.size() && i < 20; i++)
            names += (i ? ", " : "") + table.header[i];
        fail(table.path, ": no column is named \"", table.label, "\"; there are ", names,
             table.header.size() > 20 ? ", ..." : "");
    }
    const size_t column = size_t(table.label_column);
    const char* const hint =
        table.label.empty() ? ". hint: the label is in the first column; name another with --label"
                            : "";
    check(table.classes.size() <= 256, table.path, ": ", column_name(table, column), ": ",
          table.classes.size(), " different labels; there can be 256",
          hint);
    DataSet set{{}, {}, table.rows(), 1, table.cols - 1, {}};
    for (size_t i = 0; i < table.values.size(); i++) {
        const float value = table.values[i];
        if (i % size_t(table.cols) != column) {
            set.values.push_back(value);
            continue;
        }
        check(value >= 0 && value <= 255 && value == std::floor(value), table.path, ": line ",
              table.lines[i / size_t(table.cols)], ", ", column_name(table, column), ": label ",
              value, "; labels are whole numbers from 0 to 255, or names", hint);
        set.labels.push_back(uint8_t(value));
    }
    return set;
}

CsvTable arranged(const CsvTable& table, const CsvTable& like) {
    const bool same = table.cols == like.cols && table.header == like.header;
    const bool by_name = !same && !table.header.empty() && !like.header.empty();
    check(by_name || table.cols == like.cols || table.cols == like.cols - 1, table.path, ": ",
          table.cols, " columns; the network takes ", like.cols - 1,
          ", plus at most one label column");
    std::vector<int64_t> from;  // the table's column for each of like's; -1: no labels
    for (int64_t i = 0; i < like.cols; i++) {
        const bool is_label = i == like.label_column;
        if (by_name) from.push_back(column_named(table, like.header[size_t(i)]));
        else if (table.cols == like.cols) from.push_back(i);
        else from.push_back(is_label ? -1 : i - (i > like.label_column));
        if (is_label) continue;
        if (from.back() < 0)
            fail(table.path, ": no column is named \"", like.header[size_t(i)], "\", as in ",
                 like.path);
        if (from.back() == table.label_column && !table.classes.empty())
            fail_at(table, table.lines[0], size_t(from.back()), table.classes[0]);
    }

    const auto label_like = [&](float value, int64_t line) {
        if (table.classes == like.classes) return value;
        const std::string name = table.classes.empty() ? to_text(double(value))
                                                       : table.classes[size_t(value)];
        const auto found = std::find(like.classes.begin(), like.classes.end(), name);
        check(found != like.classes.end(), table.path, ": line ", line, ": label \"", name,
              "\"; it must be one of those in ", like.path);
        return float(found - like.classes.begin());
    };
    CsvTable result = table;
    result.header = like.header;
    result.cols = like.cols;
    result.label_column = like.label_column;
    result.classes = like.classes;
    result.values.clear();
    for (int64_t row = 0; row < table.rows(); row++)
        for (int64_t i = 0; i < like.cols; i++) {
            const int64_t column = from[size_t(i)];
            const float value =
                column < 0 ? 0 : table.values[size_t(row * table.cols + column)];
            result.values.push_back(i == like.label_column && column >= 0
                                        ? label_like(value, table.lines[size_t(row)])
                                        : value);
        }
    return result;
}

}  // namespace slim
