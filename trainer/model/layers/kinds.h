// The descriptions of all layer kinds, one function a file of this folder; registry.cpp lists them.
#pragma once

namespace mh::model {

struct LayerKind;

/// Each returns a description that lives as long as the program.
const LayerKind& avg_pool_kind();
const LayerKind& conv2d_kind();
const LayerKind& dropout_kind();
const LayerKind& embedding_kind();
const LayerKind& flatten_kind();
const LayerKind& gelu_kind();
const LayerKind& group_norm_kind();
const LayerKind& layer_norm_kind();
const LayerKind& linear_kind();
const LayerKind& max_pool_kind();
const LayerKind& relu_kind();
const LayerKind& tanh_kind();

}  // namespace mh::model
