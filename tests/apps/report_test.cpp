// The report: what it collects from a model, and that the page is well formed and says it.
#include "apps/report/report.h"

#include <algorithm>  // sort

#include "core/autograd.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "tests/data/scratch.h"
#include "tests/testing.h"

namespace slim {

namespace {

// Images of 2 x 2 pixels, of which label 0 to 3 says which one is white.
DataSet corners(const std::vector<uint8_t>& white, const std::vector<uint8_t>& labels) {
    DataSet set{{}, labels, int64_t(labels.size()), 2, 2};
    for (uint8_t w : white)
        for (uint8_t k = 0; k < 4; k++) set.pixels.push_back(k == w ? 255 : 0);
    return set;
}

// A model that reads the white corner, with the given weight on it.
std::shared_ptr<Linear> corner_reader(double weight) {
    Tensor W = zeros({4, 4});
    for (int64_t k = 0; k < 4; k++) W.mutable_data()[5 * k] = real(weight);
    return std::make_shared<Linear>(W);
}

size_t count(const std::string& text, const std::string& word) {
    size_t n = 0;
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) n++;
    return n;
}

// The page's tags in XML's manner: each one that opens is closed, in order, and attributes have
// quotes. Returns what is wrong, "" if nothing is.
std::string malformed(const std::string& html) {
    std::vector<std::string> open;
    const size_t begin = html.find("<html");
    if (begin == std::string::npos) return "no <html>";
    for (size_t at = html.find('<', begin); at != std::string::npos; at = html.find('<', at + 1)) {
        const size_t end = html.find('>', at);
        if (end == std::string::npos) return "a tag that does not end";
        const std::string tag = html.substr(at + 1, end - at - 1);
        if (tag.find('<') != std::string::npos) return "< inside of <" + tag;
        if (count(tag, "\"") % 2 != 0) return "an open quote in <" + tag;
        const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
        if (tag[0] == '/') {
            if (open.empty() || "/" + open.back() != tag) return "<" + tag + "> closes nothing";
            open.pop_back();
        } else if (tag.back() != '/') {
            open.push_back(name);
        }
    }
    return open.empty() ? "" : "<" + open.back() + "> stays open";
}

std::vector<EpochReport> epochs(int n, double loss) {
    std::vector<EpochReport> list;
    for (int e = 1; e <= n; e++) list.push_back({e, loss / e, 1 - loss / e / 2, 1.5});
    return list;
}

// What `mnist` would collect: a base, a full copy, LoRA and DoRA, trained a little.
std::vector<Row> example_rows(Axis axis = Axis::kIn) {
    const DataSet test = corners({0, 1, 2, 3, 0, 1}, {0, 1, 2, 3, 1, 1});
    std::vector<Row> rows;
    for (const std::string method : {"base", "full", "lora", "dora"}) {
        Rng rng(1);
        Sequential model({corner_reader(2)});
        if (method == "lora" || method == "dora") {
            attach(model,
                   {.method = method == "lora" ? Method::kLoRA : Method::kDoRA,
                    .rank = 2, .alpha = 4, .axis = axis},
                   rng);
            for (Tensor p : model.parameters())
                if (p.requires_grad())
                    for (int64_t i = 0; i < p.size(); i++) p.mutable_data()[i] += real(0.01 * i);
        }
        Row row{method, 1, {1234567, 2000000}, 0.9512, 0.9876};
        row.epochs = epochs(3, 0.5);
        for (EpochReport& e : row.epochs) e.test_accuracy = 0.9 + 0.01 * e.epoch;
        row.seconds_per_epoch = 1.5;
        row.pictures = picture_model(model, test);
        rows.push_back(row);
    }
    return rows;
}

}  // namespace

TEST_CASE(
    "picture_model: counts what is taken for what, and keeps the worst mistakes, worst first") {
    // Image 4 is a corner 0 that calls itself 1, image 5 a corner 3 that calls itself 0, and half
    // as bright: the model is less sure.
    DataSet test = corners({0, 1, 2, 3, 0, 3}, {0, 1, 2, 3, 1, 0});
    test.pixels[5 * 4 + 3] = 128;
    Sequential model({corner_reader(2)});
    model.train();
    const ModelPictures pictures = picture_model(model, test);
    CHECK(model.training);
    CHECK(pictures.rows == 2);
    CHECK(pictures.cols == 2);
    CHECK(pictures.confusion == std::vector<std::vector<int64_t>>{
                                    {1, 0, 0, 1}, {1, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}});
    REQUIRE(pictures.mistakes.size() == 2);
    const Mistake& worst = pictures.mistakes[0];
    CHECK(worst.image == 4);
    CHECK(worst.label == 1);
    CHECK(worst.predicted == 0);
    CHECK(worst.probability == relative(std::exp(2) / (std::exp(2) + 3), 1e-5));
    CHECK(worst.label_probability == relative(1 / (std::exp(2) + 3), 1e-5));
    CHECK(worst.pixels == Bytes{255, 0, 0, 0});
    CHECK(pictures.mistakes[1].image == 5);
    CHECK(pictures.mistakes[1].pixels == Bytes{0, 0, 0, 128});
    CHECK(picture_model(model, test, 1).mistakes.size() == 1);
    CHECK(!pictures.first_layer);
}

TEST_CASE("picture_model: takes the adapted first layer apart; the parts fit together") {
    for (const Axis axis : {Axis::kOut, Axis::kIn}) {
        const std::vector<Row> rows = example_rows(axis);
        const LayerChange& lora = *rows[2].pictures.first_layer;
        const LayerChange& dora = *rows[3].pictures.first_layer;
        CHECK(lora.name == "0");
        CHECK(same_bits(lora.weight, corner_reader(2)->weight));
        CHECK(largest_difference(lora.weight + lora.change, lora.merged) < 1e-6);
        CHECK(largest_difference(lora.change, zeros({4, 4})) > 0.01);
        CHECK(largest_difference(dora.magnitude_before, full({4}, 2)) < 1e-6);
        // m was moved to 2, 2.01, 2.02, 2.03, and is what the merged weight measures.
        CHECK(largest_difference(dora.magnitude_after, tensor({2, 2.01, 2.02, 2.03})) < 1e-5);
        CHECK(largest_difference(dora.weight + dora.change, dora.merged) > 1e-3);
        CHECK(!lora.merged.requires_grad());
    }
}

TEST_CASE("picture_model: a layer that does not look at pixels is not drawn") {
    Rng rng(1);
    Sequential model({corner_reader(1), std::make_shared<Linear>(4, 7, rng),
                      std::make_shared<Linear>(7, 4, rng)});
    attach(model, {.target_modules = {"2"}}, rng);
    const DataSet test = corners({0, 1}, {0, 1});
    CHECK(!picture_model(model, test).first_layer);
}

TEST_CASE("report: a well-formed page with every section, without scripts and links") {
    const std::string html = report_html(example_rows(), "Run of a <test> & \"more\".");
    CHECK(malformed(html) == "");
    CHECK(html.find("<!DOCTYPE html>") == 0);
    for (const std::string id :
         {"results", "curves", "confusion", "mistakes", "layer", "magnitudes"}) {
        INFO("section " << id);
        CHECK(count(html, "<section id=\"" + std::string(id) + "\">") == 1);
    }
    for (const std::string word :
         {"<script", "http:", "https:", "url(h", "@import", "nan", "inf\""}) {
        INFO("the page should not contain " << word);
        CHECK(count(html, word) == 0);
    }
    CHECK(count(html, "charset=\"utf-8\"") == 1);
    CHECK(count(html, "prefers-color-scheme: dark") == 1);
    CHECK(count(html, "Run of a &lt;test&gt; &amp; &quot;more&quot;.") == 1);
    CHECK(count(html, "confusion matrix of ") == 4);
    CHECK(count(html, "is 1<br/>read as 0<br/>") == 4);  // image 4 fools every model
    CHECK(count(html, "<figcaption>unit ") == 2 * 4);
    CHECK(count(html, "data:image/bmp;base64,") == 4 + 2 * 4 * 3);
    CHECK(count(html, "<title>column 3: 2 to 2.03</title>") == 1);
    CHECK(html.size() < 200000);
}

TEST_CASE("report: the table's numbers are the rows', and so are the charts'") {
    const std::string html = report_html(example_rows(), "");
    for (const std::string method : {"base", "full", "LoRA", "DoRA"}) {
        INFO(method);
        CHECK(count(html, std::string(method) + "</th><td>1,234,567</td><td>95.12</td><td>1</td>"
                                                "<td>98.76</td><td>1.50</td></tr>") == 1);
        CHECK(count(html, std::string(method) + ", epoch 2: 0.25</title>") == 1);  // loss 0.5 / 2
        CHECK(count(html, std::string(method) + ", epoch 2: 87.5</title>") == 1);  // per cent
        CHECK(count(html, std::string(method) + ", epoch 2: 92</title>") == 1);    // test images
        CHECK(count(html, ">" + std::string(method) + "</text>") == 3);  // beside each line
    }
    for (const std::string label : {"training loss (mean cross-entropy, nats; log scale)",
                              "training accuracy (% of the rows)",
                              "test accuracy (% of the rows)", "epochs since the random start"})
        CHECK(count(html, std::string(">") + label + "</text>") == (label[0] == 'e' ? 3 : 1));
    CHECK(count(html, ">1<title>1 of class 1 were taken for class 0</title>") == 4);
    CHECK(count(html, ">2<title>2 of class 1 were taken for class 1</title>") >= 1);
}

TEST_CASE("report: the names at the ends of lines do not overlap, and stay in the frame") {
    std::vector<Row> rows = example_rows();  // all of which learn the same
    const std::string html = report_html(rows, "");
    size_t charts = 0;
    for (size_t at = html.find("by epoch"); at != std::string::npos;
         at = html.find("by epoch", at + 1), charts++) {
        const std::string chart = html.substr(at, html.find("</svg>", at) - at);
        std::vector<double> places;
        for (size_t name = chart.find("<text class=\"name "); name != std::string::npos;
             name = chart.find("<text class=\"name ", name + 1))
            places.push_back(std::stod(chart.substr(chart.find(" y=\"", name) + 4)));
        REQUIRE(places.size() == 4);
        std::sort(places.begin() + 1, places.end());  // the first is the base's, below its middle
        for (size_t i = 2; i < 4; i++) CHECK(places[i] - places[i - 1] >= 11.9);
        CHECK(places[1] > 14);
        CHECK(places[3] <= 226);
    }
    CHECK(charts == 3);
}

TEST_CASE("report: what a run did not produce is left out") {
    std::vector<Row> rows(1);
    rows[0].method = "adapter<1>";
    std::string html = report_html(rows, "");
    CHECK(malformed(html) == "");
    CHECK(count(html, "<section") == 1);
    CHECK(count(html, "adapter&lt;1&gt;</th>") == 1);

    rows = example_rows();
    rows.resize(2);  // base and full: no adapters
    html = report_html(rows, "");
    CHECK(malformed(html) == "");
    CHECK(count(html, "<section") == 4);

    for (EpochReport& e : rows[1].epochs) e.test_accuracy.reset();
    CHECK(count(report_html(rows, ""), "epochs since") == 3);
    for (EpochReport& e : rows[0].epochs) e.test_accuracy.reset();
    CHECK(count(report_html(rows, ""), "epochs since") == 2);  // no chart of the test accuracy

    rows[0].epochs.clear();  // --base FILE
    rows[1].epochs = {{1, 0, 1, 1.0}};  // one epoch, without any loss
    html = report_html(rows, "");
    CHECK(malformed(html) == "");
    CHECK(count(html, "epochs since") == 0);
    CHECK(count(html, "nan") == 0);
}

TEST_CASE("report: bitmaps are BMP files: header, palette, rows from below, padded to four bytes") {
    std::vector<Row> rows(1);
    rows[0].pictures.rows = 2;
    rows[0].pictures.cols = 3;
    rows[0].pictures.mistakes = {{0, 1, 2, 0.1, 0.9, {1, 2, 3, 4, 5, 250}}};
    const std::string html = report_html(rows, "");
    const size_t begin = html.find("base64,") + 7, end = html.find('"', begin);
    Bytes bmp;  // decoded
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0, have = 0;
    for (size_t i = begin; i < end && html[i] != '='; i++) {
        bits = bits << 6 | uint32_t(digits.find(html[i]));
        have += 6;
        if (have >= 8) bmp.push_back(uint8_t(bits >> (have -= 8)));
    }
    REQUIRE(bmp.size() == 54 + 1024 + 8);
    CHECK(bmp[0] == 'B');
    CHECK(bmp[1] == 'M');
    CHECK(bmp[2] + 256 * bmp[3] == int(bmp.size()));
    CHECK(bmp[10] + 256 * bmp[11] == 54 + 1024);
    CHECK(bmp[18] == 3);
    CHECK(bmp[22] == 2);
    CHECK(bmp[28] == 8);
    CHECK(bmp[54 + 4 * 250] == 250);  // a grey
    CHECK(Bytes(bmp.end() - 8, bmp.end()) == Bytes{4, 5, 250, 0, 1, 2, 3, 0});
}

TEST_CASE("write_report: makes the folder and writes index.html") {
    const ScratchFolder folder;
    write_report(folder / "a/b", example_rows(), "x");
    const Bytes bytes = read_file(folder / "a/b/index.html");
    CHECK(std::string(as_text(bytes)) == report_html(example_rows(), "x"));
    write_file(folder / "file", {"x"});
    CHECK_ERROR(write_report(folder / "file", {}, ""), folder / "file");
}

}  // namespace slim
