# The walk of the README: from an op's forward through its backward to the gradient of a parameter.
# `make gdb-05` types the first two lines, the reader the other eight. The test lessons_test.cpp
# looks for the lines after #> in the output of
#
#     gdb -batch -x .gdbinit -x tests/lessons/walk.gdb build/gdb/05_regression_and_xor

break slim::relu
run
#> slim::relu (x=Tensor (4, 8) linear, requires_grad, grad no, [0.5435,
#> Tensor y(x.shape());

# 1. to the end of the forward: relu's result
finish
#> Value returned is $1 = Tensor (4, 8) relu, requires_grad, grad no, [0.5435, 0, 0,

# 2. what it was made from
graph $
#> $t0 = relu #
#>   $t1 = linear #
#>     $t2 = leaf (4, 2)
#>     $t3 = leaf (8, 2), requires_grad
#>     $t4 = leaf (8), requires_grad

# 3. and 4. on to relu's backward
break slim::ReluNode::backward
continue
#> slim::ReluNode::backward (
#> y=Tensor (4, 8) (graph used), requires_grad, grad yes, [0.5435, 0, 0,
#> const real* x = saved(0);

# 5. back to the loop over the nodes, newest first
finish
#> slim::backward (y=Tensor ()

# 6. to the next node that it runs: the linear that relu's input came from
advance slim::LinearNode::backward
#> slim::LinearNode::backward (
#> y=Tensor (4, 8) (graph used), requires_grad, grad yes

# 7. through it
finish
#> slim::backward (y=Tensor ()

# 8. and there is the gradient of the weight
grad $t3
#> gradient (8, 2) [
#> nan: 0
