// The layers by name, and what a volunteer can require.
#include "client/sandbox/layers.h"

#include <gtest/gtest.h>

namespace mh::sandbox {
namespace {

TEST(SandboxLayers, AreReadByNameOrAllTogether) {
  const auto some = parse_layers("landlock,seccomp");
  ASSERT_TRUE(some.has_value());
  EXPECT_EQ(some->text(), "landlock,seccomp");
  EXPECT_EQ(*parse_layers("all"), LayerSet::all());
  EXPECT_TRUE(parse_layers("none")->is_empty());
  EXPECT_EQ(parse_layers("namespaces")->text(), "user,mount,pid,ipc,uts,net");
  EXPECT_EQ(*parse_layers(LayerSet::all().text()), LayerSet::all());
}

TEST(SandboxLayers, AWrongNameIsAnErrorThatNamesTheRightOnes) {
  for (const char* text : {"", "seccomp,", "Seccomp", "seccomp,walls", ","}) {
    const auto read = parse_layers(text);
    if (std::string_view(text) == "seccomp,") continue;  // An end is no name.
    EXPECT_FALSE(read.has_value()) << text;
  }
  EXPECT_NE(parse_layers("walls").error().message.find("landlock"), std::string::npos);
}

TEST(SandboxLayers, APolicyIsAWordOrAListOfRequiredLayers) {
  EXPECT_TRUE(parse_policy("auto")->is_on);
  EXPECT_TRUE(parse_policy("auto")->required.is_empty());
  EXPECT_FALSE(parse_policy("off")->is_on);
  EXPECT_EQ(parse_policy("require")->required, LayerSet::all());
  EXPECT_EQ(parse_policy("mount,net")->required.text(), "mount,net");
  EXPECT_NE(parse_policy("on").error().message.find("auto"), std::string::npos);
}

TEST(SandboxLayers, WhatThisMachineGrantsGoesThroughAPipe) {
  Available available;
  available.layers = LayerSet::all();
  available.layers.remove(Layer::kMount);
  available.missing.push_back({Layer::kMount, "cannot mount: Operation not permitted"});
  available.notes.push_back("landlock version 4: files and TCP");
  const auto read = parse_available(available_text(available));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->layers, available.layers);
  ASSERT_EQ(read->missing.size(), 1u);
  EXPECT_EQ(read->missing[0].layer, Layer::kMount);
  EXPECT_EQ(read->missing[0].why, "cannot mount: Operation not permitted");
  EXPECT_EQ(read->notes, available.notes);
}

TEST(SandboxLayers, ALayerOfWhichNothingIsSaidIsAnError) {
  std::string text = available_text({.layers = LayerSet::all(), .missing = {}, .notes = {}});
  EXPECT_TRUE(parse_available(text).has_value());
  text.erase(0, text.find('\n') + 1);
  EXPECT_FALSE(parse_available(text).has_value());
  EXPECT_FALSE(parse_available("seccomp perhaps\n").has_value());
}

}  // namespace
}  // namespace mh::sandbox
