(* The TCP services as a MirageOS unikernel. It listens before it says that it is ready, and never ends. *)

module Main (Stack : Tcpip.Stack.V4V6) = struct
  module Offered = Services.Make (Stack.TCP)

  let start stack =
    Offered.listen (Stack.tcp stack);
    print_string "[init done]\n";
    flush stdout;
    Stack.listen stack
end
