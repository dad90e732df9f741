# Codex without a terminal: one command, streamed. These settings can stand in config.toml as well;
# the last three keep it from asking and telling others.
set -euo pipefail
echo "17 boxes of tea" > stock.txt

codex exec --skip-git-repo-check --sandbox read-only --ephemeral \
  --model "$MODEL" \
  --config model_provider=gateway \
  --config model_providers.gateway.name=Gateway \
  --config model_providers.gateway.base_url="$GATEWAY_URL" \
  --config model_providers.gateway.env_key=GATEWAY_KEY \
  --config model_providers.gateway.wire_api=responses \
  --config web_search=disabled \
  --config features.plugins=false \
  --config analytics.enabled=false \
  'Run "cat stock.txt" with exec_command and say how much tea is left.'
