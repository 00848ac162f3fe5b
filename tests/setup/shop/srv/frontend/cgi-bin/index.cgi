#!/bin/sh
# The page of the shop: what the API says of the orders, below a greeting of the configuration.
. /usr/lib/shop/answer
if ! orders=$(ask "$API" orders); then
    answer "502 Bad Gateway"
    echo "the API does not answer"
    exit
fi
answer "200 OK"
echo "$GREETING"
echo "frontend $VERSION on $(hostname)"
echo "$orders"
