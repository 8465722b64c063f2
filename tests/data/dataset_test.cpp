// data/dataset.h: taking rows, scaling columns, and changing images.
#include "data/dataset.h"

#include "data/batches.h"
#include "tests/testing.h"

namespace slim {

TEST_CASE("take_rows: of images and of measurements, in the order asked for") {
    const DataSet images{{1, 2, 3, 4, 5, 6}, {7, 8, 9}, 3, 1, 2};
    const DataSet two = take_rows(images, {2, 0});
    CHECK(two.pixels == Bytes{5, 6, 1, 2});
    CHECK(two.labels == Bytes{9, 7});
    CHECK(two.count == 2);
    CHECK(two.features() == 2);
    const DataSet rows{{}, {7, 8}, 2, 1, 2, {1, 2, 3, 4}};
    CHECK(take_rows(rows, {1}).values == std::vector<float>{3, 4});
    CHECK(batch_of(rows, 1, 1).x.to_vector() == std::vector<real>{3, 4});
    CHECK_ERROR(take_rows(images, {3}), "row 3 of 3");
}

TEST_CASE("scale_columns: by the training set's columns; a constant one becomes 0") {
    DataSet train{{}, {0, 1}, 2, 1, 2, {1, 5, 3, 5}}, test{{}, {0}, 1, 1, 2, {5, 9}};
    DataSet unit_train = train, unit_test = test;
    scale_columns(train, test, "standard");
    CHECK(train.values == std::vector<float>{-1, 0, 1, 0});
    CHECK(test.values == std::vector<float>{3, 0});
    scale_columns(unit_train, unit_test, "unit");
    CHECK(unit_train.values == std::vector<float>{0, 0, 1, 0});
    CHECK(unit_test.values == std::vector<float>{2, 0});
    CHECK_ERROR(scale_columns(train, test, "log"), "\"log\"", "standard or unit");
}

TEST_CASE("shifted: inverts, rotates and moves images, and refuses the rest") {
    const DataSet set{{10, 20, 30,  //
                       40, 50, 60,  //
                       70, 80, 90},
                      {4}, 1, 3, 3};
    CHECK(shifted(set, "invert").pixels == Bytes{245, 235, 225, 215, 205, 195, 185, 175, 165});
    CHECK(shifted(set, "rotate:90").pixels == Bytes{30, 60, 90, 20, 50, 80, 10, 40, 70});
    CHECK(shifted(set, "translate:1").pixels == Bytes{0, 0, 0, 0, 10, 20, 0, 40, 50});
    CHECK(shifted(set, "translate:0.5").pixels[8] == 70);  // the mean of 50 60 80 90
    CHECK(shifted(set, "rotate:0").pixels == set.pixels);
    CHECK(shifted(set, "invert").labels == set.labels);
    for (const std::string how : {"rotate", "rotate:", "rotate:x", "rotate:nan", "invert:1", "",
                                  "flip"})
        CHECK_ERROR(shifted(set, how), "shift: got \"" + how + "\"");
    CHECK_ERROR(shifted({{}, {0}, 1, 1, 2, {1, 2}}, "invert"), "measurements");
}

}  // namespace slim
