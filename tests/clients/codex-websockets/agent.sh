# Codex as in ../codex, whose provider is said to have WebSockets: it asks for one, and goes on without.
set -euo pipefail
echo "17 boxes of tea" > stock.txt

codex exec --skip-git-repo-check --sandbox read-only --ephemeral \
  --model "$MODEL" \
  --config model_provider=gateway \
  --config model_providers.gateway.name=Gateway \
  --config model_providers.gateway.base_url="$GATEWAY_URL" \
  --config model_providers.gateway.env_key=GATEWAY_KEY \
  --config model_providers.gateway.wire_api=responses \
  --config model_providers.gateway.supports_websockets=true \
  --config web_search=disabled \
  --config features.plugins=false \
  --config analytics.enabled=false \
  'Run "cat stock.txt" with exec_command and say how much tea is left.'
