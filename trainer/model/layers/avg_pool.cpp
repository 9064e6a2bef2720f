// avg_pool: the mean of each window; places of the padding count as zeros (torch's default). Image
// [channels, height, width]; no parameters.
#include "trainer/model/layers/kinds.h"
#include "trainer/model/layers/pool.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings& settings,
                                             const LayerPosition& position) {
  return fit_pool("avg_pool", settings, position);
}

}  // namespace

const LayerKind& avg_pool_kind() {
  static const LayerKind kind = {"avg_pool", pool_settings(), fit};
  return kind;
}

}  // namespace mh::model
