// Channels and servers with the settings of docs/protocol.md, "Channels". Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "grpcpp/channel.h"
#include "grpcpp/server_builder.h"

namespace retort {

inline constexpr int kMaxMessageBytes = 4 << 20;

// To an orchestrator at HOST:PORT. Connects when first used, and again by itself. Has a connection of its
// own: heartbeats on one channel do not wait behind the bytes of another.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address);

// Keepalive, limits, and no sharing of the port.
void SetServerArguments(grpc::ServerBuilder& builder);

}  // namespace retort
