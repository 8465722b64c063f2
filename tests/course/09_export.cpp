// answer: right
static void hand_on(Module& model, AdapterSet& adapters, const std::string& folder) {
    const AdapterConfig& config = adapters.config(adapters.active());
    if (config.method == Method::kLoRA || config.axis == Axis::kOut) {
        save_adapter(folder, adapters);
    } else {
        adapters.merge_and_unload();
        save_parameters(model, folder + "/merged.safetensors");
    }
}
// answer: always as an adapter
static void hand_on(Module& model, AdapterSet& adapters, const std::string& folder) {
    save_adapter(folder, adapters);
}
// says: layers.0 has a magnitude per input, and PEFT's DoRA has one per output
// answer: merged, but not unloaded
// change: s/merge_and_unload/merge/
// says: DoRA per input: merge() can be undone, so the adapter is still in the model.
// answer: the base
// change: s/merge_and_unload/disable/
// says: DoRA per input, output after loading, element [0, 0]: expected
// says: this is the base: the adapter was not active when it was saved
// answer: always merged
// change: s/ || config.axis == Axis::kOut//; s/Method::kLoRA/Method::kDoRAMerged/
// says: LoRA: expected adapter_model.safetensors in the folder, got none
