// max_pool: the largest value of each window. Image [channels, height, width]; no parameters.
#include "trainer/model/layers/kinds.h"
#include "trainer/model/layers/pool.h"

namespace mh::model {
namespace {

std::variant<LayerOutline, LayerProblem> fit(const Settings& settings,
                                             const LayerPosition& position) {
  return fit_pool("max_pool", settings, position);
}

}  // namespace

const LayerKind& max_pool_kind() {
  static const LayerKind kind = {"max_pool", pool_settings(), fit};
  return kind;
}

}  // namespace mh::model
