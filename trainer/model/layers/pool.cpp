// What max_pool and avg_pool share; see pool.h.
#include "trainer/model/layers/pool.h"

#include "trainer/model/words.h"

namespace mh::model {

std::vector<SettingRule> pool_settings() {
  SettingRule stride = integer_rule("stride", 1, 1'024);
  stride.is_optional = true;
  return {integer_rule("kernel", 1, 1'024), stride, integer_rule("padding", 0, 512, 0)};
}

std::variant<LayerOutline, LayerProblem> fit_pool(std::string_view name, const Settings& settings,
                                                  const LayerPosition& position) {
  const Shape& image = position.input_shape;
  if (image.size() != 3) {
    return LayerProblem{"", std::string(name) +
                                " needs an image of shape channels×height×width, the input is " +
                                shape_text(image)};
  }
  LayerOutline outline;
  const std::int64_t kernel = integer_setting(settings, "kernel");
  const std::int64_t padding = integer_setting(settings, "padding");
  std::int64_t stride = kernel;
  if (settings.contains("stride")) {
    stride = integer_setting(settings, "stride");
  } else {
    outline.found_settings["stride"] = stride;
  }
  if (padding > kernel / 2) {
    return LayerProblem{"padding", "is " + std::to_string(padding) + "; at most half the kernel, " +
                                       std::to_string(kernel / 2)};
  }
  const std::int64_t height = window_count(image[1], kernel, stride, padding);
  const std::int64_t width = window_count(image[2], kernel, stride, padding);
  if (height == 0 || width == 0) {
    return LayerProblem{"kernel", "is " + std::to_string(kernel) + ", which with padding " +
                                      std::to_string(padding) + " does not fit the input of " +
                                      shape_text(image) + "; take a smaller kernel"};
  }
  outline.output_shape = {image[0], height, width};
  outline.forward_flops = static_cast<double>(kernel) * static_cast<double>(kernel) *
                          static_cast<double>(height) * static_cast<double>(width) *
                          static_cast<double>(image[0]);
  const std::string size = std::to_string(kernel);
  outline.description = std::string(name) + " " + size + "×" + size;
  if (stride != kernel) outline.description += ", stride " + std::to_string(stride);
  if (padding != 0) outline.description += ", padding " + std::to_string(padding);
  return outline;
}

}  // namespace mh::model
