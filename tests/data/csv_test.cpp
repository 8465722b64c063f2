// data/csv.h: tables of numbers, and a sentence for each thing that can be wrong with one.
#include "data/csv.h"

#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

namespace {

DataSet rows_in(const std::string& text, const std::string& label = "") {
    return labelled_rows(parse_csv(text, "t.csv", label));
}

}  // namespace

TEST_CASE("csv: labels first, without a header") {
    const DataSet set = rows_in("3,0.5,-1e2\n0,7,8\n");
    CHECK(set.labels == Bytes{3, 0});
    CHECK(set.values == std::vector<float>{0.5f, -100, 7, 8});
    CHECK(set.count == 2);
    CHECK(set.features() == 2);
    CHECK(set.classes() == 4);
    CHECK(set.pixels.empty());
}

TEST_CASE("csv: a header, a named label, quotes, blanks, CRLF, blank lines, a byte order mark") {
    const DataSet set =
        rows_in("\xef\xbb\xbfwidth, \"class\",height\r\n1.5, \"2\" ,3\r\n\r\n4,5,6", "class");
    CHECK(set.labels == Bytes{2, 5});
    CHECK(set.values == std::vector<float>{1.5f, 3, 4, 6});
    CHECK(rows_in("class,width\n1,2\n").values == std::vector<float>{2});
    // Names that are numbers are names when a label is named.
    CHECK(rows_in("label,0,1\n3,4,5\n", "label").labels == Bytes{3});
}

TEST_CASE("csv: semicolons and tabs separate cells; between quotes, separators are text") {
    for (const std::string text :
         {"kind;a;b\n3;1.5;2\n", "kind\ta\tb\n3\t1.5\t2\n",
          "\"kind\";\"a;\";b\n 3 ; \"1.5\" ;2\n"}) {
        const DataSet set = rows_in(text, "kind");
        CHECK(set.labels == Bytes{3});
        CHECK(set.values == std::vector<float>{1.5f, 2});
    }
    CHECK(parse_csv("kind,\"a,b\",\n1,2,3\n", "t.csv").header ==
          std::vector<std::string>{"kind", "a,b", ""});
}

TEST_CASE("csv: labels that are names count in alphabetical order") {
    const CsvTable table = parse_csv("a,kind\n1,rose\n2,iris 10\n3,rose\n4,7\n", "t.csv", "kind");
    CHECK(table.classes == std::vector<std::string>{"7", "iris 10", "rose"});
    CHECK(labelled_rows(table).labels == Bytes{2, 1, 2, 0});
    CHECK(labelled_rows(table).values == std::vector<float>{1, 2, 3, 4});
    CHECK(rows_in("kind,a\nb,1\na,2\n").labels == Bytes{1, 0});

    CHECK_ERROR(rows_in("kind,a\n1,1\nb,2\n"), "line 3, column 1 (kind): got \"b\"");
    CHECK_ERROR(rows_in("kind,a\nb,1\n,2\n"), "line 3, column 1 (kind): the cell is empty");
    CHECK(rows_in("PK,a\n1,2\n").count == 1);  // no zip file
    CHECK_ERROR(rows_in("kind,a\n1,1\ncat,2\n"), "line 3, column 1 (kind): got \"cat\"",
                "the first label is a number");
    CHECK_ERROR(rows_in("kind,a\nnan,1\n"), "line 2, column 1 (kind): got \"nan\"");
    CHECK_ERROR(rows_in("a,kind\n1,rose\n"), "line 2, column 2 (kind): got \"rose\"", "--label");
    CHECK_ERROR(rows_in("1,rose\n"), "line 1, column 2: got \"rose\"", "in the first line");
    CHECK_ERROR(rows_in("a,kind\n1,rose\n", "sort"), "got \"rose\"", "\"sort\"; correct --label");
    std::string many = "id,a\n";
    for (int i = 0; i < 257; i++) many += "n" + to_text(i) + ",1\n";
    CHECK_ERROR(rows_in(many), "column 1 (id): 257 different labels", "--label");
}

TEST_CASE("csv: rows arranged as another table's: columns by name, classes, labels left out") {
    const CsvTable like = parse_csv("a,kind,b\n1,x,2\n3,y,4\n", "like.csv", "kind");
    const auto rows = [&](const std::string& text) {
        return labelled_rows(arranged(parse_csv(text, "t.csv", "kind"), like));
    };
    CHECK(rows("kind,b,more,a\ny,5,0,6\n").values == std::vector<float>{6, 5});
    CHECK(rows("kind,b,more,a\ny,5,0,6\n").labels == Bytes{1});
    CHECK(rows("b,a\n5,6\n").values == std::vector<float>{6, 5});
    CHECK_ERROR(rows("kind,a,c\nx,5,6\n"), "t.csv: no column is named \"b\", as in like.csv");
    CHECK_ERROR(rows("kind,a,b\nx,5,6\nz,5,6\n"), "t.csv: line 3: label \"z\"", "in like.csv");
    CHECK_ERROR(rows("kind,a,b\n1,5,6\n"), "t.csv: line 2: label \"1\"", "in like.csv");

    // Without names, by position.
    const CsvTable plain = parse_csv("1,2,3\n", "like.csv");
    const auto by_place = [&](const std::string& text) {
        return labelled_rows(arranged(parse_csv(text, "t.csv"), plain));
    };
    CHECK(by_place("5,6\n").values == std::vector<float>{5, 6});
    CHECK(by_place("c,a,b\n4,5,6\n").values == std::vector<float>{5, 6});
    CHECK_ERROR(by_place("4,5,6,7\n"), "t.csv: 4 columns; the network takes 2");
    CHECK_ERROR(by_place("a,b\nx,6\n"), "t.csv: line 2, column 1 (a): got \"x\"");
}

TEST_CASE("csv: each malformed file gets one sentence that says where") {
    CHECK_ERROR(rows_in(""), "t.csv: no rows", "the file is empty");
    CHECK_ERROR(rows_in("class,width\n"), "t.csv: no rows", "only a header");
    CHECK_ERROR(rows_in("class,width,height\n1,2,3\n1,,3\n"), "line 3, column 2 (width)",
                "the cell is empty");
    CHECK_ERROR(rows_in("1,2,3\n1,2,tall\n"), "line 2, column 3: got \"tall\"", "finite number");
    CHECK_ERROR(rows_in("1,2,3\n1,2,nan\n"), "line 2, column 3: got \"nan\"");
    CHECK_ERROR(rows_in("1,2,3\n1,2,1e99\n"), "line 2, column 3: got \"1e99\"");
    CHECK_ERROR(rows_in("1,2,3\n\n1,2\n"), "line 3: 2 cells; the first line has 3");
    CHECK_ERROR(rows_in("label,0,1\n3,4,5\n"), "line 1, column 1: got \"label\"", "--label");
    CHECK_ERROR(rows_in("1 2 3\n"), "line 1: one column", "hint: separate cells with commas");
    CHECK_ERROR(rows_in("1;2\n1;2,5\n"), "line 2, column 2: got \"2,5\"", "a point");
    CHECK_ERROR(rows_in("1,2\n1,\"2\n"), "line 2, column 2: got \"\"2\"");
    CHECK_ERROR(rows_in("1.5,2\n"), "line 1, column 1: label 1.5", "whole numbers", "--label");
    CHECK_ERROR(rows_in("1,2\n-1,2\n"), "line 2, column 1: label -1");
    CHECK_ERROR(rows_in("class,width\n256,2\n", "class"), "line 2, column 1 (class): label 256");
    CHECK_ERROR(rows_in("class,width\n1,2\n", "kind"), "no column is named \"kind\"; there are ",
                "class, width");
    CHECK_ERROR(rows_in("class,class\n1,2\n", "class"), "two columns are named \"class\"");
    CHECK_ERROR(rows_in("1,2\n3,4\n", "class"), "no column is named \"class\"");
    CHECK_ERROR(rows_in("\x1f\x8b\x08 packed"), "t.csv: not a CSV file", "gunzip");
    CHECK_ERROR(rows_in(std::string("1,2\n\0,3\n", 9)), "t.csv: not a CSV file: it must be text");
    CHECK_ERROR(read_csv("/nowhere/t.csv"), "/nowhere/t.csv", "no such file");
}

}  // namespace slim
