// answer: right
static Plan my_plan() {
    Plan plan;
    plan.adapter = {.rank = 7, .alpha = 14, .target_modules = {"layers.0"}};
    plan.lr = 0.01;
    return plan;
}
// answer: lesson 10's rank
// change: s/.rank = 7.*/.rank = 16};/
// says: trained values: expected fewer than 7000, got 24992. Not every layer needs an adapter
// answer: a learning rate for large models
// change: s/0.01/0.0001/
// says: moved digits: expected at least 85 %, got
// says: a network as small as this one takes larger steps
// answer: the last layer
// change: s/layers.0/layers.4/; s/rank = 7/rank = 16/
// says: moved digits: expected at least 85 %, got
// says: The pixels have moved: adapt the layer that sees them
// answer: no such layer
// change: s/layers.0/fc1/
// says: fc1
// answer: too fast
// change: s/0.01/1.0/
// says: moved digits: expected at least 85 %, got
// says: Try a smaller plan.lr
