// conv2d: cross-correlation of an image [channels, height, width], or [height, width] taken as one
// channel. Weight [out, channels / groups, kernel, kernel], bias [out]. Square kernels.
#include "trainer/model/layer_kind.h"
#include "trainer/model/layers/kinds.h"
#include "trainer/model/words.h"

namespace mh::model {
namespace {

/// The settings of one conv2d.
struct Conv {
  std::int64_t out, kernel, stride, padding, dilation, groups;
  bool has_bias;
};

Conv conv_of(const Settings& settings) {
  return {integer_setting(settings, "out"),      integer_setting(settings, "kernel"),
          integer_setting(settings, "stride"),   integer_setting(settings, "padding"),
          integer_setting(settings, "dilation"), integer_setting(settings, "groups"),
          flag_setting(settings, "bias")};
}

std::string description_of(const Conv& conv, std::int64_t channels) {
  const std::string kernel = std::to_string(conv.kernel);
  std::string text =
      "conv2d " + grouped(channels) + "→" + grouped(conv.out) + " " + kernel + "×" + kernel;
  if (conv.stride != 1) text += ", stride " + std::to_string(conv.stride);
  if (conv.padding != 0) text += ", padding " + std::to_string(conv.padding);
  if (conv.dilation != 1) text += ", dilation " + std::to_string(conv.dilation);
  if (conv.groups != 1) text += ", groups " + grouped(conv.groups);
  if (!conv.has_bias) text += ", no bias";
  return text;
}

std::variant<LayerOutline, LayerProblem> fit(const Settings& settings,
                                             const LayerPosition& position) {
  const Conv conv = conv_of(settings);
  Shape image = position.input_shape;
  if (image.size() == 2) image.insert(image.begin(), 1);
  if (image.size() != 3) {
    return LayerProblem{"",
                        "conv2d needs an image of shape channels×height×width or height×width, "
                        "the input is " +
                            shape_text(position.input_shape)};
  }
  const std::int64_t channels = image[0];
  if (channels % conv.groups != 0 || conv.out % conv.groups != 0) {
    return LayerProblem{"groups", "is " + grouped(conv.groups) + ", which must divide the " +
                                      grouped(channels) + " input channels and out, " +
                                      grouped(conv.out)};
  }
  const std::int64_t height =
      window_count(image[1], conv.kernel, conv.stride, conv.padding, conv.dilation);
  const std::int64_t width =
      window_count(image[2], conv.kernel, conv.stride, conv.padding, conv.dilation);
  if (height == 0 || width == 0) {
    return LayerProblem{"kernel", "is " + std::to_string(conv.kernel) + ", which with padding " +
                                      std::to_string(conv.padding) + " and dilation " +
                                      std::to_string(conv.dilation) +
                                      " does not fit the input of " + shape_text(image) +
                                      "; take a smaller kernel or more padding"};
  }
  const std::int64_t group_channels = channels / conv.groups;
  const double window = static_cast<double>(conv.kernel) * static_cast<double>(conv.kernel);
  const double fan_in = static_cast<double>(group_channels) * window;
  const double fan_out = static_cast<double>(conv.out) * window;
  const std::string& init = text_setting(settings, "init");

  LayerOutline outline;
  outline.output_shape = {conv.out, height, width};
  outline.parameters.push_back({"weight",
                                {conv.out, group_channels, conv.kernel, conv.kernel},
                                weight_init(init, fan_in, fan_out)});
  if (conv.has_bias) outline.parameters.push_back({"bias", {conv.out}, bias_init(init, fan_in)});
  const double places = static_cast<double>(height) * static_cast<double>(width);
  outline.forward_flops =
      places * static_cast<double>(conv.out) * (2 * fan_in + (conv.has_bias ? 1 : 0));
  outline.description = description_of(conv, channels);
  return outline;
}

}  // namespace

const LayerKind& conv2d_kind() {
  static const LayerKind kind = {
      "conv2d",
      {integer_rule("out", 1, 1'048'576), integer_rule("kernel", 1, 1'024),
       integer_rule("stride", 1, 1'024, 1), integer_rule("padding", 0, 1'024, 0),
       integer_rule("dilation", 1, 1'024, 1), integer_rule("groups", 1, 1'048'576, 1),
       flag_rule("bias", true), init_rule()},
      fit};
  return kind;
}

}  // namespace mh::model
