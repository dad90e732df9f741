# Claude Code without a terminal, one command, streamed.
set -euo pipefail
echo "17 boxes of tea" > stock.txt

claude --print --tools Bash --allowed-tools "Bash(cat *)" -- \
  'Run "cat stock.txt" with Bash and say how much tea is left.'
